/* Weak definitions of two images become one, that of the image that was opened first: functions, their static variables, and data. */
template <int N> __attribute__((noinline)) int *slot() {
  static int value = N;
  return &value;
}
__attribute__((weak)) int shared_data = 22;
extern "C" int *one_slot();
extern "C" int *one_data();

extern "C" int answer() {
  *slot<9>() += 1;
  int sum = *one_slot() == 10 && one_slot() == slot<9>() ? 20 : 0;
  return sum + (one_data() == &shared_data ? *one_data() : 0);
}
