/* Functions of the system whose structures and constants differ from the host's: jumps, files, and what a file is. */
struct stat64 {
  int dev;
  unsigned short mode, nlink;
  unsigned long long ino;
  unsigned uid, gid;
  int rdev;
  long times[8];
  long long size, blocks;
  int blksize;
  unsigned flags, gen;
  int spare[5];
};
extern int stat(const char *, struct stat64 *) __asm("_stat$INODE64");
extern int open(const char *, int, ...), fcntl(int, int, ...), close(int);
extern int setjmp(int[37]) __attribute__((returns_twice));
extern void longjmp(int[37], int) __attribute__((noreturn));
extern int CCRandomGenerateBytes(void *, unsigned long);
extern int pthread_atfork(void (*)(void), void (*)(void), void (*)(void));

static int buffer[38];
static void jump(int value) { longjmp(buffer, value); }
static void nothing(void) {}

int answer(void) {
  struct stat64 found;
  volatile int sum = 0;
  char random[300] = {0};
  buffer[37] = 7; /* behind the room that setjmp has */
  int value = setjmp(buffer);
  sum += value + 1;              /* 1, and then 10 + 1 */
  if (value == 0) jump(10);
  sum += buffer[37] == 7 ? 2 : 0; /* 14 */
  sum += stat("/", &found) == 0 && (found.mode & 0170000) == 0040000 && found.size >= 0 ? 8 : 0; /* 22 */
  int file = open("/dev/null", 1 /* O_WRONLY */ | 0x8 /* O_APPEND */ | 0x1000000 /* O_CLOEXEC */);
  sum += (fcntl(file, 3 /* F_GETFL */) & 0xf) == 0x9 ? 8 : 0; /* 30 */
  sum += fcntl(file, 1 /* F_GETFD */) == 1 ? 4 : 0;           /* 34 */
  close(file);
  sum += CCRandomGenerateBytes(random, sizeof random) == 0 && (random[0] | random[1] | random[299] | random[298]) ? 4 : 0; /* 38 */
  return sum + (pthread_atfork(nothing, nothing, nothing) == 0 ? 4 : 0);
}
