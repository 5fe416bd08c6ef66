// An object opens another, uses it, and closes it as often as it was opened.
//# cflags: -D_GNU_SOURCE
//# beside: path_leaf
#include <dlfcn.h>
#include <link.h>
#include <string.h>
static int count(struct dl_phdr_info *info, size_t size, void *found) {
    *(int *)found += size >= sizeof *info && strstr(info->dlpi_name, "libpath_leaf.so") != 0;
    return 0;
}
int answer(void) {
    void *one = dlopen("libpath_leaf.so", RTLD_NOW), *two = dlopen("libpath_leaf.so", RTLD_NOW | RTLD_DEEPBIND);
    if (!one || one != two) return 1;
    int (*value)(void) = dlsym(one, "path_leaf"), found = 0, sum = 0;
    Dl_info info;
    if (!value || !dladdr(value, &info) || !strstr(info.dli_fname, "libpath_leaf.so")) return 2;
    dl_iterate_phdr(count, &found);
    if (found != 1) return 3;
    if (dlclose(one)) return 4;
    sum = value();
    return dlclose(two) ? 5 : sum + 30;
}
