/* An exception is thrown in one function and caught in another; the image has compact unwind tables. */
struct Error {
  int value;
};
__attribute__((noinline)) static int thrower(int value) {
  if (value > 10) throw Error{value};
  return value;
}
struct Guard {
  int *count;
  ~Guard() { *count += 10; }
};
__attribute__((noinline)) static int middle(int value, int *count) {
  Guard guard{count};
  return thrower(value);
}
extern "C" int answer() {
  int count = 2;
  try {
    return middle(30, &count);
  } catch (const Error &error) {
    return error.value + count;
  }
}
