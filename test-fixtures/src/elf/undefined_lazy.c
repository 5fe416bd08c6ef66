// An undefined function that only a lazy JUMP_SLOT names: refused under eager binding.
//# ldflags: -Wl,-z,undefs -Wl,-z,lazy
//# expect: error Undefined undefined_lazily
//# glibc: refuses
extern int undefined_lazily(void);
int answer(void) { return undefined_lazily(); }
