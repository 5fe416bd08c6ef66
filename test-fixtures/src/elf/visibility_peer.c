// Has a hidden symbol of the same name as `visibility_hidden` has.
//# answer: none
__attribute__((visibility("hidden"))) int same_name = 12;
static int *volatile pointer = &same_name;
int peer_value(void) { return *pointer; }
