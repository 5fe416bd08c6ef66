// dl_iterate_phdr tells the module id and this thread's block of thread-locals, and counts what was opened.
//# cflags: -D_GNU_SOURCE
//# beside: path_leaf
//# rows: tls:DTPMOD64
#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
__thread int local = 7;
struct seen { unsigned long long adds, subs; void *block; size_t module; };
static int visit(struct dl_phdr_info *info, size_t size, void *data) {
    struct seen *seen = data;
    if (size < offsetof(struct dl_phdr_info, dlpi_tls_data) + sizeof(void *)) return 1;
    seen->adds = info->dlpi_adds, seen->subs = info->dlpi_subs;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        ElfW(Addr) start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (ElfW(Addr))visit - start < info->dlpi_phdr[i].p_memsz)
            seen->block = info->dlpi_tls_data, seen->module = info->dlpi_tls_modid;
    }
    return 0;
}
extern void *__tls_get_addr(size_t *);
int answer(void) {
    struct seen before = {0}, after = {0};
    local += 1;
    if (dl_iterate_phdr(visit, &before) || !before.module || !before.block) return 1;
    size_t index[2] = {before.module, 0};
    if (__tls_get_addr(index) != before.block) return 2;
    if ((char *)&local < (char *)before.block) return 3;
    if (!dlopen("libpath_leaf.so", RTLD_NOW)) return 4;
    if (dl_iterate_phdr(visit, &after) || after.adds != before.adds + 1 || after.subs != before.subs) return 5;
    return 34 + local;
}
