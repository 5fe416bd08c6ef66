// Interface of libjournal.so: a shared note pad for initialisers to record their order in.
#ifndef JOURNAL_H
#define JOURNAL_H
#ifdef __cplusplus
extern "C" {
#endif
void journal_append(char letter);
const char *journal_text(void);
void journal_clear(void);
#ifdef __cplusplus
}
#endif
#endif
