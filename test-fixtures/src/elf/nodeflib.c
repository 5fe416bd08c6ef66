// DF_1_NODEFLIB: its dependencies are not looked for in the default folders; the RUNPATH still serves.
//# ldflags: -Wl,-z,nodefaultlib
//# needs: provider
extern int provided_function(void);
int answer(void) { return provided_function() + 30; }
