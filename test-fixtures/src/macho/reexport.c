/* A symbol is found in what a need re-exports, though this image names only the need. */
extern int dep_value(void), umbrella_own(void), dep_data;
int *data = &dep_data;

int answer(void) { return dep_value() + umbrella_own() + *data; }
