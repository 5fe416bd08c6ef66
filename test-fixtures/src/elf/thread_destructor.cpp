// A thread-local object with a destructor, which counts against its image until the thread has ended.
//# rows: tls
#include "fixture.h"
#include <pthread.h>
static volatile int destroyed;
struct Noted {
    int value;
    ~Noted() { destroyed = destroyed + 1; }
};
static thread_local Noted noted{41};
EXPORT int touch() { return noted.value; }
static void *work(void *) { return reinterpret_cast<void *>(static_cast<long>(touch())); }
EXPORT int answer() {
    destroyed = 0;
    pthread_t thread;
    void *value;
    if (pthread_create(&thread, nullptr, work, nullptr) || pthread_join(thread, &value)) return 1;
    return static_cast<int>(reinterpret_cast<long>(value)) + destroyed;
}
