// Exports thread-locals.
//# answer: none
// The one that is asked for must not be the first, in whichever order they are laid out: offset zero proves nothing.
__thread int shared_before = 9;
__thread int shared_local = 40;
__thread int shared_after = 8;
int *shared_local_address(void) { return &shared_local; }
