// dladdr and dl_iterate_phdr, called by the image, know the image.
//# cflags: -D_GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <string.h>
int answer(void);
static int visit(struct dl_phdr_info *info, size_t size, void *found) {
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        ElfW(Addr) start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        ElfW(Addr) end = start + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (ElfW(Addr))answer >= start && (ElfW(Addr))answer < end)
            *(int *)found += 1;
    }
    return 0;
}
int answer(void) {
    Dl_info info;
    int found = 0;
    if (!dladdr((void *)answer, &info) || !info.dli_sname || strcmp(info.dli_sname, "answer")) return 1;
    if (!strstr(info.dli_fname, "dladdr")) return 2;
    dl_iterate_phdr(visit, &found);
    return found == 1 ? 42 : 3;
}
