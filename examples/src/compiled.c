/* A compiled executable: counts the bytes of the event that it gets on stdin. */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    unsigned long bytes = 0;
    while (getchar() != EOF)
        bytes++;
    fprintf(stderr, "request %s\n", getenv("AWS_REQUEST_ID"));
    printf("{\"bytes\": %lu}\n", bytes);
    return 0;
}
