/* The words of a PDF page and where they stand, asked of pdfium one call after the other: what
 * `pdf_lines._Reader` does through ctypes, for which each call costs ten times as much. The rules, and what the numbers
 * mean, are explained there; both must give the same, to the last bit.
 *
 * pdfium is not linked: whoever calls gives the addresses of its functions.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef struct { float left, top, right, bottom; } Rect;             /* FS_RECTF */
typedef struct { float a, b, c, d, e, f; } Matrix;                   /* FS_MATRIX */

typedef struct {
    int (*loose_char_box)(void *page, int at, Rect *rect);           /* FPDFText_GetLooseCharBox */
    int (*char_index)(void *page, int text_index);                   /* FPDFText_GetCharIndexFromTextIndex */
    double (*font_size)(void *page, int at);                         /* FPDFText_GetFontSize */
    int (*matrix)(void *page, int at, Matrix *matrix);               /* FPDFText_GetMatrix */
    int (*font_weight)(void *page, int at);                          /* FPDFText_GetFontWeight */
    unsigned long (*font_info)(void *page, int at, void *name, unsigned long length, int *flags);
    int (*char_origin)(void *page, int at, double *x, double *y);    /* FPDFText_GetCharOrigin */
} Pdfium;

/* One line: its words, and what its longest one is set in. */
typedef struct {
    int32_t first, end;       /* of its words */
    int32_t bold, has_matrix;
    double size;
    double a, b, c, d;        /* of the matrix, if there is one */
    double x, y;              /* the foot of the longest word's first character */
    double narrowest, widest; /* of the gaps between words that follow each other; 0 is among them */
} Line;

/* Where words are written; there is room for `most` of each. */
typedef struct {
    int64_t most;
    double *left, *right;     /* along the line, as the page is shown */
    int32_t *at;              /* pdfium's number of the first character */
    int32_t *length;          /* in characters of the text */
    Line *lines;
    int64_t line_count;
} Found;

typedef struct { double width, height, left, bottom; int32_t quarters; } Frame;

enum { NAME_BYTES = 128, BOLD_WEIGHT = 600 };
static const double SHARED = 0.4;

int32_t ddw_interface(void) { return 1; }

/* What Python's regular expressions call white space. */
int32_t ddw_is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* How pdfium marks a word that is broken at the end of a line. */
static int is_broken(uint32_t c) { return c == 0xfffe || c == 2; }

static void along(const Frame *frame, double first, double last, double *left, double *right) {
    switch (frame->quarters) {
    case 0: *left = first - frame->left; *right = last - frame->left; return;
    case 1: *left = first - frame->bottom; *right = last - frame->bottom; return;
    case 2: *left = frame->width + frame->left - last; *right = frame->width + frame->left - first; return;
    default: *left = frame->width + frame->bottom - last; *right = frame->width + frame->bottom - first;
    }
}

static int says_bold(const char *name) {
    char lower[NAME_BYTES];
    int n = 0;
    for (; n < NAME_BYTES - 1 && name[n]; n++)
        lower[n] = name[n] >= 'A' && name[n] <= 'Z' ? (char)(name[n] + 'a' - 'A') : name[n];
    lower[n] = 0;
    return strstr(lower, "bold") != NULL || strstr(lower, "black") != NULL;
}

static int is_bold(const Pdfium *pdfium, void *page, int at) {
    char name[NAME_BYTES] = "";
    int flags = 0;
    if (pdfium->font_weight(page, at) >= BOLD_WEIGHT) return 1;
    pdfium->font_info(page, at, name, NAME_BYTES, &flags);
    return says_bold(name);
}

/* Fills in what the font of a line is, and how far its words are apart. */
static void finish(const Pdfium *pdfium, void *page, const Found *found, Line *line) {
    int32_t longest = line->first;
    for (int32_t n = line->first + 1; n < line->end; n++) {
        double gap = found->left[n] - found->right[n - 1];
        if (found->length[n] > found->length[longest]) longest = n;
        if (gap < line->narrowest) line->narrowest = gap;
        if (gap > line->widest) line->widest = gap;
        if (gap != gap) line->narrowest = -INFINITY; /* no place at all: apart from everything */
    }
    int at = found->at[longest];
    Matrix matrix = {0};
    line->size = pdfium->font_size(page, at);
    line->has_matrix = pdfium->matrix(page, at, &matrix) != 0;
    line->a = matrix.a, line->b = matrix.b, line->c = matrix.c, line->d = matrix.d;
    line->bold = is_bold(pdfium, page, at);
    if (!pdfium->char_origin(page, at, &line->x, &line->y)) line->x = line->y = 0.0;
}

/* Finds the words of a text of `length` characters. `places` is NULL where pdfium's numbers of characters are those of the
 * text. Returns how many there are, or -1 if there is no room for them: half as many words as characters, rounded up,
 * are always enough. */
int64_t ddw_words(const Pdfium *pdfium, void *page, const uint32_t *text, int64_t length, const int32_t *places,
                  const Frame *frame, Found *found) {
    Rect rect = {0};
    Line *line = NULL;
    int turned = frame->quarters % 2, apart = 0;
    double low = 0.0, high = 0.0;
    int64_t words = 0;
    found->line_count = 0;
    for (int64_t n = 0; n < length;) {
        if (ddw_is_space(text[n]) || is_broken(text[n])) {
            apart |= text[n++] == '\n';
            continue;
        }
        int64_t start = n;
        while (n < length && !ddw_is_space(text[n]) && !is_broken(text[n])) n++;
        int broken = n < length && is_broken(text[n]);
        n += broken;
        if (words >= found->most) return -1;
        int at = places ? places[start] : (int)start;
        pdfium->loose_char_box(page, at, &rect); /* one that has no place keeps that of the character before */
        double here = turned ? rect.left : rect.bottom, there = turned ? rect.right : rect.top;
        double first = turned ? rect.bottom : rect.left, last = turned ? rect.top : rect.right;
        if (n - start > 1) {
            pdfium->loose_char_box(page, places ? places[n - 1] : (int)(n - 1), &rect);
            double begins = turned ? rect.bottom : rect.left, ends = turned ? rect.top : rect.right;
            first = begins < first ? begins : first;
            last = ends > last ? ends : last;
        }
        if (line) {
            double shared = (there < high ? there : high) - (here > low ? here : low);
            apart |= shared < SHARED * (there - here) && shared < SHARED * (high - low);
        }
        if (!line || apart) {
            if (line) finish(pdfium, page, found, line);
            line = &found->lines[found->line_count++];
            memset(line, 0, sizeof *line);
            line->first = (int32_t)words;
        }
        found->at[words] = at;
        found->length[words] = (int32_t)(n - start);
        along(frame, first, last, &found->left[words], &found->right[words]);
        line->end = (int32_t)++words;
        low = here, high = there, apart = broken;
    }
    if (line) finish(pdfium, page, found, line);
    return words;
}

/* Fills in pdfium's number of each character of a text; pdfium counts it in UTF-16 units. */
void ddw_places(const Pdfium *pdfium, void *page, const uint32_t *text, int64_t length, int32_t *places) {
    int at = 0;
    for (int64_t n = 0; n < length; n++) {
        places[n] = pdfium->char_index(page, at);
        at += text[n] > 0xffff ? 2 : 1;
    }
}
