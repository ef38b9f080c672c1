# A job of the trial of limits: limits.sh QUEUE KEY NAME SECONDS
#
# Lines of the log, each in one write to the end of the file, so their order is the order in time:
#   S queue key name attempt moment   it runs; the moment at which its process was started
#   E queue key name attempt moment   it ends
# The moment is in seconds, on the clock since boot, which nobody can set.
cd "$CHAOS_PLACE" || exit 99
began() {
    if [ -r /proc/self/stat ]; then
        read -r line </proc/$$/stat
        ticks=$(set -- $line && shift 21 && echo "$1") # hundredths of a second; see proc(5)
        rest=${ticks%??}
        moment=$rest.${ticks#"$rest"}
    else
        moment=$(date +%s)
    fi
}
now() {
    if [ -r /proc/uptime ]; then
        read -r moment _ </proc/uptime
    else
        moment=$(date +%s)
    fi
}
began
echo "S $1 $2 $3 $QUEUECTL_ATTEMPT $moment" >>log
sleep "$4"
now
echo "E $1 $2 $3 $QUEUECTL_ATTEMPT $moment" >>log
