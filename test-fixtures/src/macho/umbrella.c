/* An image that passes the exports of dep_base.c on as its own. */
int umbrella_own(void) { return 25; }
