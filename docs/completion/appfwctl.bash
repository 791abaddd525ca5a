# bash completion for appfwctl

_appfwctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} command='' word position=0 i
    local commands='guard unguard grant revoke explain list rules status bridge up down'
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
            -*) ;;
            *) if [[ -z $command ]]; then command=$word; else ((position++)); fi ;;
        esac
    done
    if [[ -z $command ]]; then
        COMPREPLY=($(compgen -W "$commands --json --version --help" -- "$cur"))
        return
    fi
    case ${COMP_WORDS[COMP_CWORD - 1]} in
        --kind) COMPREPLY=($(compgen -W 'grant guard' -- "$cur")); return ;;
        --domain) COMPREPLY=($(compgen -W "$(_appfwctl_domains)" -- "$cur")); return ;;
    esac
    if [[ $cur == -* ]]; then
        local options='--json --help'
        case $command in
            guard | unguard | grant | revoke | explain) options+=' --in' ;;
            list) options+=' --kind --domain' ;;
            down) options+=' --yes' ;;
        esac
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
        return
    fi
    case $command:$position in
        grant:0 | revoke:0 | explain:0)
            COMPREPLY=($(compgen -W "$(_appfwctl_domains)" -- "$cur")) ;;
        bridge:0) COMPREPLY=($(compgen -W 'open close' -- "$cur")) ;;
    esac
}

# The domains of running programs: quick, and mostly what is meant.
_appfwctl_domains() {
    ps -eo label= 2>/dev/null | cut -d: -f3 | sort -u
}

complete -F _appfwctl appfwctl
