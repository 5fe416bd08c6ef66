// An exception in a second thread, and one rethrown after the first was caught.
//# rows: unwind
#include "fixture.h"
#include <pthread.h>
static int rethrown() {
    try {
        try {
            throw 21;
        } catch (int) {
            throw;
        }
    } catch (int value) {
        return value;
    }
}
static void *work(void *) { return reinterpret_cast<void *>(static_cast<long>(rethrown())); }
EXPORT int answer() {
    pthread_t thread;
    void *other = nullptr;
    if (pthread_create(&thread, nullptr, work, nullptr) || pthread_join(thread, &other)) return 1;
    return static_cast<int>(reinterpret_cast<long>(other)) + rethrown();
}
