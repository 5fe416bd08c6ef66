// A thread-local of a dependency: module and offset come from the object that defines it.
//# needs: tls_provider
//# rows: tls:DTPMOD64, tls:DTPOFF64
extern __thread int shared_local;
extern int *shared_local_address(void);
static __thread volatile int own = 2;
int answer(void) { return shared_local_address() == &shared_local ? shared_local + own : 1; }
