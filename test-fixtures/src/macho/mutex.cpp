/* std::mutex and std::condition_variable as libc++ for macOS has them: the compiler initialises them with signatures, and
   their functions are libc++'s. Two threads take turns. */
extern "C" int pthread_create(void *, const void *, void *(*)(void *), void *), pthread_join(void *, void **);
extern "C" int clock_gettime(int, long[2]);
namespace std {
inline namespace __1 {
struct alignas(8) mutex {
  long signature = 0x32AAABA7;
  char rest[56] = {};
  ~mutex() noexcept;
  void lock();
  bool try_lock() noexcept;
  void unlock() noexcept;
};
template <class M> struct unique_lock {
  M *held;
  bool owns;
};
template <long N, long D> struct ratio {};
namespace chrono {
template <class R, class P> struct duration {
  R count;
};
struct system_clock;
template <class C, class D> struct time_point {
  D since;
};
} // namespace chrono
struct alignas(8) condition_variable {
  typedef chrono::time_point<chrono::system_clock, chrono::duration<long long, ratio<1, 1000000000>>> Time;
  long signature = 0x3CB0B1BB;
  char rest[40] = {};
  ~condition_variable();
  void notify_one() noexcept;
  void notify_all() noexcept;
  void wait(unique_lock<mutex> &) noexcept;
  void __do_timed_wait(unique_lock<mutex> &, Time) noexcept;
};
} // namespace __1
} // namespace std

static std::mutex lock, alone;
static std::condition_variable changed;
static int turn, sum;

static void take(int own) {
  std::unique_lock<std::mutex> held{&lock, true};
  for (int i = 0; i < 8; i++) {
    lock.lock();
    while (turn % 2 != own) changed.wait(held);
    turn++, sum += 2;
    own ? changed.notify_one() : changed.notify_all();
    lock.unlock();
  }
}
static void *other(void *) {
  take(1);
  return 0;
}

extern "C" int answer() {
  void *thread = 0;
  long before[2], after[2];
  pthread_create(&thread, 0, other, 0);
  take(0);
  pthread_join(thread, 0);          /* 16 turns: 32 */
  sum += alone.try_lock() ? 2 : 0;  /* 34 */
  sum += alone.try_lock() ? 0 : 2;  /* 36 */
  std::unique_lock<std::mutex> held{&alone, true};
  clock_gettime(0, before);
  changed.__do_timed_wait(held, {{before[0] * 1000000000LL + before[1] + 20000000}});
  clock_gettime(0, after);
  sum += (after[0] - before[0]) * 1000000000LL + after[1] - before[1] >= 20000000 ? 4 : 0; /* 40 */
  alone.unlock();
  return sum + 2;
}
