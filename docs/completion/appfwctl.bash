# bash completion for appfwctl

_appfwctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} words=() i
    local commands='guard unguard fence unfence grant revoke explain who list types domains rules'
    commands+=' status baseline bridge observed denied pending answer watch blocked unblock'
    commands+=' confirm plan apply export up down'
    local planned='guard unguard fence unfence grant revoke baseline bridge apply up down'
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --kind | --domain | --for | --until | --scope) ((i++)) ;;
            -*) ;;
            *) words+=("${COMP_WORDS[i]}") ;;
        esac
    done
    if ((${#words[@]} == 0)); then
        COMPREPLY=($(compgen -W "$commands --json --version --help" -- "$cur"))
        return
    fi
    if [[ ${words[0]} == plan ]]; then
        words=("${words[@]:1}")
        if ((${#words[@]} == 0)); then
            COMPREPLY=($(compgen -W "$planned --json --help" -- "$cur"))
            return
        fi
    fi
    case ${COMP_WORDS[COMP_CWORD - 1]} in
        --kind) COMPREPLY=($(compgen -W 'grant guard fence' -- "$cur")); return ;;
        --scope) COMPREPLY=($(compgen -W 'place host port network domain' -- "$cur")); return ;;
        --domain) COMPREPLY=($(compgen -W "$(_appfwctl_domains)" -- "$cur")); return ;;
        --for) COMPREPLY=($(compgen -W '60s 5m 1h' -- "$cur")); return ;;
    esac
    if [[ $cur == -* ]]; then
        local options='--json --help'
        case "${words[*]}" in
            guard*) options+=' --in --for --yes' ;;
            fence*) options+=' --no-loopback --no-dns --for --yes' ;;
            grant*) options+=' --in --for --until --session --boot --app --yes' ;;
            revoke* | explain*) options+=' --in --app' ;;
            unguard* | who* | unblock*) options+=' --in' ;;
            list) options+=' --kind --domain' ;;
            domains | pending | blocked) options+=' --domain' ;;
            denied) options+=' --domain --forget' ;;
            answer*) options+=' --scope --for --until --session --boot' ;;
            'baseline on' | 'baseline off') options+=' --for --yes' ;;
            'bridge open' | 'bridge observe') options+=' --for' ;;
            'bridge close') options+=' --strict --for --yes' ;;
            observed) options+=' --domain --with-baseline --accept --forget' ;;
            apply*) options+=' --check --syntax --yes' ;;
            down) options+=' --yes' ;;
        esac
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
        return
    fi
    case "${words[*]}" in
        fence | unfence | grant | revoke | explain | types | unblock)
            COMPREPLY=($(compgen -W "$(_appfwctl_domains)" -- "$cur")) ;;
        answer) COMPREPLY=($(compgen -W "$(_appfwctl_asked)" -- "$cur")) ;;
        answer\ *) COMPREPLY=($(compgen -W 'allow block' -- "$cur")) ;;
        apply) COMPREPLY=($(compgen -f -- "$cur")) ;;
        baseline) COMPREPLY=($(compgen -W 'on off show' -- "$cur")) ;;
        bridge) COMPREPLY=($(compgen -W 'open observe close' -- "$cur")) ;;
    esac
}

# Ids of what is asked.
_appfwctl_asked() {
    appfwctl pending 2>/dev/null | cut -f1
}

# The domains of running programs: quick, and mostly what is meant.
_appfwctl_domains() {
    ps -eo label= 2>/dev/null | cut -d: -f3 | sort -u
}

complete -F _appfwctl appfwctl
