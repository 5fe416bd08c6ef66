/* Functions and data of the system: bound as data, through stubs, and compared by address. */
typedef unsigned long size_t;
extern size_t strlen(const char *);
extern int toupper(int);
extern int abs(int);
extern void qsort(void *, size_t, size_t, int (*)(const void *, const void *));
extern void *malloc(size_t);
extern void free(void *);
extern int *__error(void);
extern long strtol(const char *, char **, int);

size_t (*length)(const char *) = strlen;
int (*magnitude)(int) = abs;
static int order(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

int answer(void) {
  int values[3] = {30, 3, 7};
  qsort(values, 3, sizeof *values, order);
  char *heap = malloc(8);
  int sum = heap ? values[0] : 0; /* 3 */
  free(heap);
  *__error() = 0;
  sum += *__error() == 0 ? 2 : 0;                    /* 5 */
  sum += strtol("12", 0, 10) + length("four");       /* 21 */
  sum += toupper('a') == 'A' ? magnitude(-20) : 0;   /* 41 */
  return sum + (length == strlen);
}
