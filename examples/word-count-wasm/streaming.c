/* Counts words as a WASI command under the streaming contract: `streaming.wasm map` and `streaming.wasm reduce`. */
#include <stdio.h>
#include <string.h>

static char line[1 << 20], last[1 << 20];

static int is_space(int c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static int map(void) {
    size_t length = 0;
    int c;
    while ((c = getchar_unlocked()) != EOF) {
        if (!is_space(c)) {
            if (length == sizeof line) return 1;
            line[length++] = (char)c;
        } else if (length > 0) {
            fwrite_unlocked(line, 1, length, stdout);
            fwrite_unlocked("\t1\n", 1, 3, stdout);
            length = 0;
        }
    }
    return 0;
}

static void print(long long sum) {
    if (sum > 0) printf("%s\t%lld\n", last, sum);
}

static int reduce(void) {
    long long sum = 0;
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *tab = strchr(line, '\t');
        if (tab == NULL) return 1;
        *tab = 0;
        if (strcmp(line, last) != 0) {
            print(sum);
            strcpy(last, line);
            sum = 0;
        }
        long long count = 0;
        for (char *digit = tab + 1; *digit >= '0' && *digit <= '9'; digit++) count = count * 10 + (*digit - '0');
        sum += count;
    }
    print(sum);
    return 0;
}

int main(int argc, char **argv) {
    static char buffer[1 << 16];
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    return argc > 1 && strcmp(argv[1], "reduce") == 0 ? reduce() : map();
}
