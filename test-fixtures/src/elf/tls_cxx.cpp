// C++ thread_local objects: constructed on first use in each thread, destroyed at each thread's end.
//# rows: tls
#include "fixture.h"
#include <pthread.h>
static volatile int constructed, destroyed;
struct Counted {
    int value = 0;
    Counted() { __atomic_add_fetch(&constructed, 1, __ATOMIC_SEQ_CST); }
    ~Counted() { __atomic_add_fetch(&destroyed, 1, __ATOMIC_SEQ_CST); }
};
static thread_local Counted counted;
static thread_local volatile int plain = 20;
static void *work(void *) {
    counted.value += plain;
    return reinterpret_cast<void *>(static_cast<long>(counted.value));
}
EXPORT int answer() {
    constructed = destroyed = 0;
    void *sum[2] = {};
    for (auto &part : sum) {
        pthread_t thread;
        if (pthread_create(&thread, nullptr, work, nullptr) || pthread_join(thread, &part)) return 1;
    }
    // Both threads are gone: two constructions and two destructions, and 20 + 20 from their copies.
    return static_cast<int>(reinterpret_cast<long>(sum[0]) + reinterpret_cast<long>(sum[1])) +
           (constructed == 2) + (destroyed == 2);
}
