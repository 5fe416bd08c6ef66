// Several undefined strong symbols, as code and as data: refused, with all of them named.
//# ldflags: -Wl,-z,undefs
//# expect: error Undefined undefined_alpha undefined_beta undefined_gamma
//# glibc: refuses
extern int undefined_alpha(void), undefined_beta(void), undefined_gamma;
int answer(void) { return undefined_alpha() + undefined_beta() + undefined_gamma; }
