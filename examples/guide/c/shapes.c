/* cc -g -shared -fPIC -o libshapes.so shapes.c */
struct size { double width, height; unsigned char depth; };

double area(const struct size *of) { return of->width * of->height; }
