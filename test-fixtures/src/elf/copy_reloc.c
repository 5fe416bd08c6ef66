// R_X86_64_COPY, which belongs in executables only: refused by name.
//
// No linker puts one into a shared object; the type of a GLOB_DAT is changed afterwards. glibc just copies.
//# needs: provider
//# patch: copy
//# expect: error Unsupported R_X86_64_COPY provided_value
//# glibc: skip
extern int provided_value;
int answer(void) { return provided_value + 12; }
