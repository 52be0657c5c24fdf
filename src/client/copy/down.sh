need dd base64
name "$p"; home "$n"; p=$n
if [ ! -e "$p" ] && [ ! -L "$p" ]; then fail missing; fi
if [ -d "$p" ]; then fail directory; fi
[ -f "$p" ] || fail special
[ -r "$p" ] || fail denied
facts "$p"; printf '!facts %s\n' "$s"; if [ -z "$z" ]; then z=${s%% *}; fi
if [ "$b" -gt 0 ]; then blocks "$p" "$b"; fi
if [ "$k" -gt 0 ]; then
dd if="$p" bs=65536 skip="$o" count="$k" 2>/dev/null | base64
echo
fi
printf '!done\n'
if [ "$w" -gt 0 ]; then whole "$p" "$z"; fi
facts "$p"; printf '!facts %s\n!end\n' "$s"
stay
