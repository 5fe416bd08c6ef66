/* Thread-local variables: initialised, zero-filled, holding a pointer, and one copy a thread. */
typedef struct _opaque_pthread_t *pthread_t;
extern int pthread_create(pthread_t *, const void *, void *(*)(void *), void *);
extern int pthread_join(pthread_t, void **);
static int target = 3;
__thread int initial = 20;
__thread int zero;
__thread int *pointer = &target;
static __thread char room[300];

static int use(void) {
  zero += 1;
  room[299] += 4;
  initial += 2;
  return zero + room[299] + *pointer + initial; /* 1 + 4 + 3 + 22 = 30 the first time, 37 the second */
}
static void *thread(void *result) {
  *(int *)result = use();
  return &initial;
}
int answer(void) {
  int other = 0;
  void *there = 0;
  pthread_t id;
  if (use() != 30 || pthread_create(&id, 0, thread, &other) != 0) return 1;
  pthread_join(id, &there);
  return other == 30 && there != &initial ? use() + 5 : 2;
}
