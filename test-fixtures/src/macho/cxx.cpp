/* C++: static objects, virtual functions, inline variables, and a destructor at the end of the process. */
extern "C" int puts(const char *);
extern "C" void *malloc(unsigned long);
extern "C" void free(void *);
void *operator new(unsigned long size) { return malloc(size); }
void operator delete(void *block) noexcept { free(block); }
void operator delete(void *block, unsigned long) noexcept { free(block); }
struct Shape {
  virtual int area() const = 0;
  virtual ~Shape() {}
};
struct Square : Shape {
  int side;
  Square(int side) : side(side) {}
  int area() const override { return side * side; }
};
template <class T> struct Registry {
  static T &get() {
    static T local = 3;
    return local;
  }
};
inline int counter = 1;
static Shape *shape = new Square(6);
struct Noisy {
  Noisy() { counter += 2; }
  ~Noisy() { puts("cxx.cpp: destroyed"); }
};
static Noisy noisy;

extern "C" int answer() { return shape->area() + Registry<int>::get() + counter; }
