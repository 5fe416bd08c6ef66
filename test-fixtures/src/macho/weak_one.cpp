/* The first image with a definition that images share; what weak_two.cpp needs. */
template <int N> __attribute__((noinline)) int *slot() {
  static int value = N;
  return &value;
}
__attribute__((weak)) int shared_data = 11;
int strong_later = 1;
extern "C" int *one_slot() { return slot<9>(); }
extern "C" int *one_data() { return &shared_data; }
