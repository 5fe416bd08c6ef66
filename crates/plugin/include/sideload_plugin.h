/* Rows of a plugin that is written in C. Needs a compiler that knows GNU attributes; include it and state, at file scope:
 *
 *     SIDELOAD_PLUGIN("greeter", "1.0.0");
 *     SIDELOAD_EXPORT(add, "fn(i32, i32) -> i32");
 *     SIDELOAD_EXPORT(version, "u32");
 *
 * A signature is written as Rust would write it: scalars (bool, i8 … i64, u8 … u64, isize, usize, f32, f64), pointers
 * ("*const u8", "*mut Foo"), and `unsafe fn` if calls must be marked so. A variable states its type alone, and must not
 * change once the plugin is initialised, unless that type is an atomic ("AtomicU32").
 *
 * The host reads the rows from the file, without loading it, and compares the types when it looks an item up. What it
 * cannot compare is the header of your own functions: the text is your word.
 */
#ifndef SIDELOAD_PLUGIN_H
#define SIDELOAD_PLUGIN_H

#ifdef __APPLE__
#define SIDELOAD_SECTION_ "__DATA,__sideload"
#else
#define SIDELOAD_SECTION_ ".note.sideload"
#endif

#define SIDELOAD_NOTE_(LINE, KIND, BODY_FIELDS, ...) SIDELOAD_NOTE__(LINE, KIND, BODY_FIELDS, __VA_ARGS__)
#define SIDELOAD_NOTE__(LINE, KIND, BODY_FIELDS, ...)                                                                  \
    static const struct __attribute__((packed, aligned(4))) {                                                          \
        unsigned name_size, desc_size, type;                                                                           \
        char name[12];                                                                                                 \
        struct __attribute__((packed)) {                                                                               \
            unsigned checksum; /* none: no compiler of C could compute it */                                           \
            unsigned char format;                                                                                      \
            BODY_FIELDS                                                                                                \
        } desc;                                                                                                        \
    } sideload_row_##LINE __attribute__((section(SIDELOAD_SECTION_), used, aligned(4))) = {                            \
        9, sizeof(sideload_row_##LINE.desc), KIND, "sideload", {0, 1, __VA_ARGS__}}

/* A text is its length in two bytes, seven bits each, and then its bytes; the NUL is there since C++ insists on it. */
#define SIDELOAD_TEXT_(FIELD, TEXT)                                                                                    \
    unsigned char FIELD##_size[2];                                                                                     \
    char FIELD[sizeof(TEXT)];
#define SIDELOAD_PUT_(TEXT) {(sizeof(TEXT) & 0x7f) | 0x80, sizeof(TEXT) >> 7}, TEXT

/* Who the plugin is. At most once. */
#define SIDELOAD_PLUGIN(NAME, VERSION)                                                                                 \
    SIDELOAD_NOTE_(__LINE__, 1,                                                                                        \
                   unsigned char flags; /* none: the upper half is the complement of the lower */                      \
                   SIDELOAD_TEXT_(name_key, "name") SIDELOAD_TEXT_(name, NAME) SIDELOAD_TEXT_(version_key, "version")  \
                       SIDELOAD_TEXT_(version, VERSION) SIDELOAD_TEXT_(language_key, "language")                       \
                           SIDELOAD_TEXT_(language, "C"),                                                              \
                   0xf0, SIDELOAD_PUT_("name"), SIDELOAD_PUT_(NAME), SIDELOAD_PUT_("version"), SIDELOAD_PUT_(VERSION), \
                   SIDELOAD_PUT_("language"), SIDELOAD_PUT_("C"))

/* Exports a function, or a variable, under its own name. */
#define SIDELOAD_EXPORT(NAME, SIGNATURE)                                                                               \
    SIDELOAD_NOTE_(__LINE__, 2,                                                                                        \
                   unsigned char kind;                                                                                 \
                   SIDELOAD_TEXT_(name, #NAME) SIDELOAD_TEXT_(symbol, #NAME) SIDELOAD_TEXT_(signature, SIGNATURE),     \
                   3, SIDELOAD_PUT_(#NAME), SIDELOAD_PUT_(#NAME), SIDELOAD_PUT_(SIGNATURE))

#endif
