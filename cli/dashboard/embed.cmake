# SPDX-License-Identifier: MIT
#
# cmake -DDIRECTORY=cli/dashboard -DOUT=page_files.c -P embed.cmake: the page's files as C arrays,
# for files.h. The build runs it.

set(files page.html page.css page.js icon.svg)
set(types "text/html" "text/css" "text/javascript" "image/svg+xml")
set(arrays "/* Made by cli/dashboard/embed.cmake. */\n#include \"cli/dashboard/files.h\"\n\n")
set(table "const struct page_file page_files[] = {\n")

foreach(name type IN ZIP_LISTS files types)
	file(READ ${DIRECTORY}/${name} bytes HEX)
	string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
	string(MAKE_C_IDENTIFIER ${name} array)
	string(APPEND arrays "static const unsigned char ${array}[] = {${bytes}};\n")
	string(REPLACE "page.html" "" path ${name})
	string(APPEND table "\t{\"/${path}\", \"${type}; charset=utf-8\", ${array}, sizeof(${array})},\n")
endforeach()
file(WRITE ${OUT} "${arrays}\n${table}\t{0},\n};\n")
