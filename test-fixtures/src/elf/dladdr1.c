// dladdr1 tells the symbol's entry and the link map.
//# cflags: -D_GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <unistd.h>
int answer(void);
static int local(void) { return 0; }
int answer(void) {
    Dl_info info;
    ElfW(Sym) *symbol = 0;
    struct link_map *map = 0;
    if (!dladdr1((char *)answer + 1, &info, (void **)&symbol, RTLD_DL_SYMENT) || !symbol) return 1;
    if (info.dli_saddr != (void *)answer || ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_size < 2) return 2;
    if (!dladdr1((void *)answer, &info, (void **)&map, RTLD_DL_LINKMAP) || !map) return 3;
    if (map->l_addr + symbol->st_value != (ElfW(Addr))answer || strcmp(map->l_name, info.dli_fname)) return 4;
    if (map->l_ld->d_tag == DT_NULL) return 5;
    if (!dladdr1((void *)local, &info, (void **)&symbol, RTLD_DL_SYMENT)) return 6;
    if (info.dli_sname && info.dli_saddr == (void *)local) return 7;
    if (!dladdr1(getpid, &info, (void **)&map, RTLD_DL_LINKMAP) || !strstr(map->l_name, "libc.so.6")) return 8;
    return 42;
}
