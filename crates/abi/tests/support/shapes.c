#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>

typedef unsigned int uint_t;
typedef struct size { double width, height; uint8_t depth; } size_s;
struct node { int value; struct node *next; };
struct opaque;
enum color { RED, GREEN = 5, BLUE };
union word { uint32_t whole; uint8_t parts[4]; };
struct packet { uint32_t head; union word word; unsigned a : 3, b : 5; char name[16]; };
typedef int (*visit_fn)(const struct node *, void *context);

int counter = 7;
const double scale[3] = {1, 2, 3};

double area(const size_s *of) { return of->width * of->height; }
size_s doubled(size_s of) { of.width *= 2; return of; }
void resize(size_s *of, double by) { of->width *= by; of->height *= by; }
uint_t length(const char *text, size_t limit) { size_t n = 0; while (n < limit && text[n]) n++; return n; }
enum color next_color(enum color of) { return of == RED ? GREEN : of == GREEN ? BLUE : RED; }
int visit(const struct node *first, visit_fn each, void *context) {
    int sum = 0;
    for (; first; first = first->next) sum += each(first, context);
    return sum;
}
int head_of(const struct packet *of) { return of->head; }
void *open_it(struct opaque *of) { return of; }
bool is_even(int64_t number) { return number % 2 == 0; }
int sum(int count, ...) { return count; }
int parse(const char *text) { return atoi(text); }
float half(float of) { return of / 2; }
int old_style(c, f) char c; float f; { return c + f; }
long double exact(void) { return 1.0L; }
static int chosen(void) { return 1; }
static int (*choose(void))(void) { return chosen; }
int indirect(void) __attribute__((ifunc("choose")));
int alias_of_head(const struct packet *of) __attribute__((alias("head_of")));
__asm__(".globl by_hand\n.type by_hand,@function\nby_hand: ret\n.size by_hand, .-by_hand\n");
