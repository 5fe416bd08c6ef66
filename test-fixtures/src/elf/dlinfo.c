// dlinfo's requests: namespace, link map, origin, search folders, thread-locals and program headers.
//# cflags: -D_GNU_SOURCE
//# runpath: $ORIGIN/first:/second
//# rows: tls:DTPMOD64
#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
__thread int local = 7;
int answer(void) {
    Dl_info self;
    if (!dladdr((void *)answer, &self)) return 1;
    void *handle = dlopen(self.dli_fname, RTLD_NOW);
    if (!handle) return 2;
    Lmid_t space = 99;
    struct link_map *map = 0;
    char origin[4096];
    if (dlinfo(handle, RTLD_DI_LMID, &space) || space != LM_ID_BASE) return 3;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) || strcmp(map->l_name, self.dli_fname)) return 4;
    if (dlinfo(handle, RTLD_DI_ORIGIN, origin) || strncmp(origin, self.dli_fname, strlen(origin))) return 5;

    Dl_serinfo head;
    if (dlinfo(handle, RTLD_DI_SERINFOSIZE, &head) || head.dls_cnt < 3) return 6;
    Dl_serinfo *info = malloc(head.dls_size);
    if (dlinfo(handle, RTLD_DI_SERINFOSIZE, info) || dlinfo(handle, RTLD_DI_SERINFO, info)) return 7;
    unsigned second = 0;
    while (second < info->dls_cnt && strcmp(info->dls_serpath[second].dls_name, "/second")) second++;
    if (second == info->dls_cnt || !second) return 8;
    char first[4200];
    strcat(strcpy(first, origin), "/first");
    if (strcmp(info->dls_serpath[second - 1].dls_name, first)) return 9;
    const char *end = (char *)info + head.dls_size, *last = info->dls_serpath[info->dls_cnt - 1].dls_name;
    if (last + strlen(last) + 1 > end) return 10;

    size_t module = 0;
    char *block = 0;
    local += 1;
    if (dlinfo(handle, RTLD_DI_TLS_MODID, &module) || !module) return 11;
    if (dlinfo(handle, RTLD_DI_TLS_DATA, &block) || !block || (char *)&local < block) return 12;
    const ElfW(Phdr) *headers = 0;
    int count = dlinfo(handle, 11 /* RTLD_DI_PHDR */, &headers), found = 0;
    for (int i = 0; i < count; i++)
        if (headers[i].p_type == PT_TLS) found = (size_t)((char *)&local - block) < headers[i].p_memsz;
    if (!found) return 13;
    if (dlinfo(handle, 77, &module) != -1 || !strstr(dlerror(), "unsupported dlinfo request")) return 14;
    return 34 + local;
}
