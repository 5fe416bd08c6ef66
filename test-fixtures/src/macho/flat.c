/* Linked with -flat_namespace: each name is looked up in all images, in load order. */
extern int dep_value(void), dep_data;
extern unsigned long strlen(const char *);
int *data = &dep_data;

int answer(void) { return dep_value() + *data + (int)strlen("twenty-five characters..."); }
