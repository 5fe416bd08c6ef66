// Says which address it sees for `provided_function`.
//# needs: provider
//# answer: none
extern int provided_function(void);
int (*identity_seen(void))(void) { return provided_function; }
