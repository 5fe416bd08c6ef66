/* Needs an image that needs this one, by LC_LOAD_UPWARD_DYLIB: an editor makes the command one. */
extern int above_saw, above_value(void);
int below_inits;
static int before;
__attribute__((constructor)) static void init(void) {
  before = above_saw == 0 ? 40 : 0;
  below_inits = 2;
}

int answer(void) { return before + above_value(); }
