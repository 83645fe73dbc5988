#!/bin/sh
# thumb.sh PICTURE WIDTH: shrinks a binary PPM (P6, 8 bits) to WIDTH pixels across, by taking the
# nearest pixel; prints width and height, then red, green and blue of each pixel as numbers.
od -An -v -tu1 "$1" | awk -v want="$2" '
{
    for (i = 1; i <= NF; i++) {
        byte = $i + 0
        if (words == 4) {
            pixel[n++] = byte
        } else if (byte == 32 || (byte >= 9 && byte <= 13)) {
            if (word != "") { head[++words] = word; word = "" }
        } else {
            word = word sprintf("%c", byte)
        }
    }
}
END {
    want = int(want); width = head[2] + 0; height = head[3] + 0
    if (head[1] != "P6" || head[4] != "255" || want < 1 || n < width * height * 3) exit 1
    if (want > width) want = width
    tall = int(height * want / width); if (tall < 1) tall = 1
    print want, tall
    for (y = 0; y < tall; y++)
        for (x = 0; x < want; x++) {
            at = 3 * (int(y * height / tall) * width + int(x * width / want))
            print pixel[at], pixel[at + 1], pixel[at + 2]
        }
}'
