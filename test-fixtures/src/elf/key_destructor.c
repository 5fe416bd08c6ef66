// A key of thread-specific data whose destructor lies in the image, which counts against it until the key is deleted.
#include <pthread.h>
static pthread_key_t key;
static int made;
static volatile int destroyed;
static void destroy(void *value) { destroyed += *(int *)value; }
static void *work(void *value) {
    pthread_setspecific(key, value);
    return 0;
}
int answer(void) {
    int value = 42;
    pthread_t thread;
    if (!made && pthread_key_create(&key, destroy)) return 1;
    made = 1;
    destroyed = 0;
    if (pthread_create(&thread, 0, work, &value) || pthread_join(thread, 0)) return 2;
    return destroyed;
}
int release(void) { return pthread_key_delete(key); }
