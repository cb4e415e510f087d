/* The loop over words under the sanitizers: texts of every kind, in memory that ends where they end, on a pdfium that
 * says what is least expected. Prints how many texts were tried. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "words.c"

static uint64_t state = 1;
static uint32_t random_below(uint32_t most) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % most;
}

static const float ODD[] = {0.0f, -1e30f, 1e30f, NAN, INFINITY, -INFINITY, 12.0f, 13.0f};
static float odd(void) { return ODD[random_below(8)]; }

static int box(void *page, int at, Rect *rect) {
    (void)page, (void)at;
    *rect = (Rect){odd(), odd(), odd(), odd()};
    return random_below(4) != 0;
}
static int index_of(void *page, int at) { (void)page; return random_below(9) ? at : -1; }
static double size_of(void *page, int at) { (void)page, (void)at; return odd(); }
static int matrix_of(void *page, int at, Matrix *matrix) {
    (void)page, (void)at;
    *matrix = (Matrix){odd(), odd(), odd(), odd(), 0, 0};
    return random_below(2);
}
static int weight_of(void *page, int at) { (void)page, (void)at; return (int)random_below(900); }
static unsigned long info_of(void *page, int at, void *name, unsigned long length, int *flags) {
    (void)page, (void)at;
    *flags = 0;
    for (unsigned long n = 0; n < length; n++) ((char *)name)[n] = "BOLDblack"[random_below(9)]; /* without an end */
    return length;
}
static int origin_of(void *page, int at, double *x, double *y) { (void)page, (void)at; *x = *y = odd(); return random_below(2); }

static const uint32_t SIGNS[] = {'a', 'b', ' ', '\n', 2, 0xfffe, 0x2003, 0x1d11e, 0, 0xffffffff};

static void try_text(const Pdfium *pdfium, int64_t length, int with_places) {
    int64_t most = (length + 1) / 2;
    uint32_t *text = malloc(length * sizeof *text);
    int32_t *places = with_places ? malloc(length * sizeof *places) : NULL;
    Found found = {most, malloc(most * 8), malloc(most * 8), malloc(most * 4), malloc(most * 4), malloc(most * sizeof(Line)), 0};
    Frame frame = {600, 800, odd(), odd(), (int32_t)random_below(4)};
    for (int64_t n = 0; n < length; n++) text[n] = SIGNS[random_below(10)];
    if (places) ddw_places(pdfium, NULL, text, length, places);
    int64_t words = ddw_words(pdfium, NULL, text, length, places, &frame, &found);
    assert(words >= 0 && words <= most && found.line_count <= words);
    for (int64_t n = 0, next = 0; n < found.line_count; n++, next = found.lines[n - 1].end)
        assert(found.lines[n].first == next && found.lines[n].end > next && found.lines[n].end <= words);
    if (words) {
        found.most = words - 1;
        assert(ddw_words(pdfium, NULL, text, length, places, &frame, &found) == -1);
    }
    free(text), free(places), free(found.left), free(found.right), free(found.at), free(found.length), free(found.lines);
}

int main(void) {
    const Pdfium pdfium = {box, index_of, size_of, matrix_of, weight_of, info_of, origin_of};
    int tried = 0;
    for (int round = 0; round < 200; round++)
        for (int64_t length = 0; length < 60; length++, tried++) try_text(&pdfium, length, round % 2);
    printf("%d texts\n", tried);
    return 0;
}
