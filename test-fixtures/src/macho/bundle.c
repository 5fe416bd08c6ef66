/* A bundle, as extension modules are: its undefined names are looked up in every image, the program's own included. */
extern int caller_supplied(int);

int answer(void) { return caller_supplied(40); }
