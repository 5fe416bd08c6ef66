// dlerror after a dlopen that fails: a text once, then NULL. The process goes on.
#include <dlfcn.h>
#include <string.h>
int answer(void) {
    dlerror();
    if (dlopen("libsideload_absent.so", RTLD_NOW)) return 1;
    const char *text = dlerror();
    if (!text || !strstr(text, "libsideload_absent.so")) return 2;
    return dlerror() ? 3 : 42;
}
