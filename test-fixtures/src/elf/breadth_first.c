// Scopes are breadth-first: a second dependency comes before the first one's dependency.
//# needs: breadth_near, breadth_wide
//# rows: needs
extern int breadth_near(void), breadth_pick(void);
int answer(void) { return breadth_near() + breadth_pick(); }
