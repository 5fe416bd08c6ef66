/* A need is initialised first; a weak import that is there is bound, and one that is not is null. */
extern int dep_value(void), dep_data;
extern int dep_optional(void) __attribute__((weak_import));
extern int not_there(void) __attribute__((weak_import));
static int saw;
__attribute__((constructor)) static void init(void) { saw = dep_value(); }
int *data = &dep_data;

int answer(void) { return saw + dep_value() + *data + (dep_optional ? dep_optional() : 0) + (not_there ? 0 : 10); }
