// Functions and data for other fixtures to import.
//# answer: none
int provided_value = 30;
int provided_array[4] = {1, 2, 4, 8};
int provided_function(void) { return 12; }
int provided_other(void) { return 5; }
