/* Names that an editor makes those of the image itself (0) and of the program (-1), beside one that anybody may have (-2). */
extern int from_itself(void), abs(int);
extern long labs(long);
static int (*volatile of_program)(int) = abs;
static long (*volatile of_anybody)(long) = labs;
int own(void) { return 2; }

int answer(void) { return from_itself() + of_program(-10) + (int)of_anybody(-30); }
