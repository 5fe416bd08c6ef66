// A function and a variable that the caller has to supply: code that `answer` calls back.
//
// Without a resolver this is an undefined symbol. `caller_supplied(20)` should return 22, and
// `caller_supplied_value` hold 20.
//# ldflags: -Wl,-z,undefs
//# rows: bind:JUMP_SLOT, bind:GLOB_DAT
//# glibc: refuses
extern int caller_supplied(int), caller_supplied_value;
int answer(void) { return caller_supplied(caller_supplied_value) + caller_supplied_value; }
