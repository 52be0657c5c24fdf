need dd base64
name "$p"; home "$n"; p=$n
[ -d "$p" ] || fail missing
cd "$p" 2>/dev/null || fail denied
c=0 u=0
more() { printf '!more %s\n!end\n' "$c"; stay; }
entry() {
if [ "$u" -ge 41943040 ] || [ "$c" -ge "$((q+20000))" ]; then more; fi
c=$((c+1))
if [ "$c" -le "$q" ]; then return; fi
shown "${1#./}"
if [ -L "$1" ]; then
t=$(readlink "$1"; echo x); t=${t%?x}; m=$n; shown "$t"; printf '!link %s %s\n' "$m" "$n"
elif [ -d "$1" ]; then
facts "$1"; printf '!folder %s %s\n' "$s" "$n"
if [ ! -r "$1" ] || [ ! -x "$1" ]; then printf '!shut %s\n' "$n"; fi
elif [ -f "$1" ]; then
if [ ! -r "$1" ]; then printf '!denied %s\n' "$n"; return; fi
facts "$1"; printf '!file %s %s\n' "$s" "$n"
z=${s%% *}
if [ "$z" -le 1048576 ]; then
u=$((u+z))
if [ "$z" -gt 0 ]; then dd if="$1" bs=65536 count=16 2>/dev/null | base64; echo; fi
h=; digest <"$1"; printf '!hash %s\n' "$h"
fi
else printf '!special %s\n' "$n"; fi
}
walk() {
for f in "$1"/* "$1"/.[!.]* "$1"/..?*; do
if [ ! -e "$f" ] && [ ! -L "$f" ]; then continue; fi
entry "$f"
if [ -d "$f" ] && [ ! -L "$f" ]; then walk "$f"; fi
done
}
facts .; printf '!folder %s =.\n' "$s"
walk .
printf '!end\n'
stay
