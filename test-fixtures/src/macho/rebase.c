/* Pointers of an image to itself, also across pages and from its read-only data. */
static int values[1500] = {[0] = 20, [1400] = 10};
int *first = &values[0];
#define TEN(x) x, x, x, x, x, x, x, x, x, x
#define SIX_HUNDRED(x) TEN(TEN(x)), TEN(TEN(x)), TEN(TEN(x)), TEN(TEN(x)), TEN(TEN(x)), TEN(TEN(x))
int *far[600] = {SIX_HUNDRED(&values[1400])};
int **twice = &far[599];
static const char *const words[] = {"a", "bc"};
const char *const *list = words;

int answer(void) { return *first + *far[0] + **twice + list[1][1] - 'c' + (list[0][1] == 0 ? 2 : 0); }
