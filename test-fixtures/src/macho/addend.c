/* Addends of binds: none, some that fit in a pointer of a chain, some that do not, and a negative one. */
extern char table[];
char *at0 = table, *at16 = table + 16, *at255 = table + 255, *at4096 = table + 4096, *at8191 = table + 8191;
char *before = table - 8;
#ifdef HUGE
char *huge = table + 0x123456789aLL;
#else
char *huge = table;
#endif

int answer(void) { return *at0 + *at16 + *at255 + *at4096 + *at8191 + before[8] - 1; }
