// The image's own dynamic section holds run-time addresses where the host's images have them, as D's run-time expects.
//# cflags: -D_GNU_SOURCE
#include <link.h>
#include <stdlib.h>
#include <string.h>
extern ElfW(Dyn) _DYNAMIC[] __attribute__((visibility("hidden")));
struct seen { ElfW(Addr) bias; const ElfW(Dyn) *section; };
static int visit(struct dl_phdr_info *info, size_t size, void *data) {
    struct seen *seen = data;
    const ElfW(Dyn) *section = 0;
    int holds = 0;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        ElfW(Addr) start = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_DYNAMIC) section = (void *)start;
        if (header->p_type == PT_LOAD) holds |= (ElfW(Addr))abort - start < header->p_memsz;
    }
    if (!holds) return 0;
    *seen = (struct seen){info->dlpi_addr, section};
    return 1;
}
static ElfW(Addr) value(const ElfW(Dyn) *section, ElfW(Sxword) tag) {
    while (section->d_tag != DT_NULL && section->d_tag != tag) section++;
    return section->d_un.d_ptr;
}
int answer(void) {
    static const ElfW(Sxword) tags[] = {DT_STRTAB, DT_SYMTAB, DT_GNU_HASH, DT_RELA, DT_JMPREL, DT_PLTGOT, DT_VERSYM};
    extern const char start __asm__("__ehdr_start") __attribute__((visibility("hidden")));
    ElfW(Addr) bias = (ElfW(Addr))&start;
    struct seen libc = {0, 0};
    int points = 0;
    dl_iterate_phdr(visit, &libc);
    if (!libc.section) return 1;
    // Addresses of the file are below the size of the image, those of the process are above.
    if (value(libc.section, DT_STRTAB) < libc.bias) bias = 0;
    for (int i = 0; i < 7; i++) {
        ElfW(Addr) at = value(_DYNAMIC, tags[i]);
        points += at >= bias && at - bias < 0x100000;
    }
    if (points != 7) return 100 + points;
    // These stay as the linker wrote them under every loader.
    if (value(_DYNAMIC, DT_FINI) >= 0x100000 || value(_DYNAMIC, DT_VERNEED) >= 0x100000) return 2;
    const char *strings = (const char *)(value(_DYNAMIC, DT_STRTAB) + ((ElfW(Addr))&start - bias));
    return strcmp(strings + value(_DYNAMIC, DT_SONAME), "libdynamic_section.so") ? 3 : 42;
}
