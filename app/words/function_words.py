"""The most common function words of languages whose script several languages share."""

from functools import cache
from typing import Final

LATIN: Final = {
    "ca": "amb els les una per que del dels més és són aquest aquesta també però com entre des fins seva seu ha han el la de i",
    "cs": "je jsou byl byla bylo které který která není pro jako nebo také však při podle až od ve se na že jeho jejich být",
    "da": "og er det den til af ikke har var med som på for et en de at fra blev eller også efter kan skal hvor hvad hvilken",
    "de": "der die das und ist nicht ein eine einer einem einen den dem des von mit zu auf für im sich auch wird werden als bei aus nach wie"
    " war wurde oder sind wer was wo hat haben über durch am zum zur welche welcher wann wir sie er es ihr",
    "en": "the of and to in is was that for it with as on be by at this are from or an have has had not were which their its what"
    " who how when where why does did do can will would there been they he she you we our many much a i about into than",
    "eo": "la kaj estas en de por ne kun al kiu kiuj estis ĝi pri sed el ankaŭ aŭ tiu plej oni",
    "es": "el la los las de y en que un una por con para del se es no al como más su sus fue son lo pero este esta entre cuando"
    " qué quién cuál dónde cuándo cuántos era ha han muy sobre desde también",
    "et": "ja on ei oli see mis kui ka ning et aga või oma seda kes tema selle olid üle kuidas",
    "eu": "eta da ez zen bat du ere dira izan dute baina hau bere egin den zuen batean",
    "fi": "ja on ei oli se että hän mutta kun myös tai sekä joka jotka ovat olla kuin mikä missä mitä niin jos kuka ole",
    "fr": "le la les de des du et en un une est que qui dans pour par sur pas avec au aux ce cette il elle son sa ses plus sont ne se"
    " été où comme mais ou nous vous leur était quel quelle quand ont je",
    "ga": "agus an na ar is bhí tá le go ag sé sí atá bhfuil don seo mar ach nó do",
    "hr": "je i u na se su da za od kao koji koja koje nije bio bila iz ili do te što sa biti kada ali s",
    "hu": "a az és hogy nem is egy volt van ez meg vagy csak mint után pedig majd már amely ami ki mi milyen hány azt",
    "id": "yang dan di dengan untuk pada dari ini itu adalah tidak dalam ke oleh akan atau juga sebagai apa telah dapat ada",
    "it": "il lo la gli le di e che un una per con del della dei delle nel nella è non sono si da al alla come più anche ma fu stato"
    " chi quale quando dove era ha questo questa i",
    "lt": "ir yra buvo kad iš su tai kaip bei ar į per už jis apie nuo bet tik dėl kas",
    "lv": "un ir no ar par kas bija uz tas kā arī vai gada bet lai pie ka tika",
    "nb": "og er det den til av ikke har var med som på for et en de å fra ble eller også etter kan skal hvor hva hvilken",
    "nl": "de het een en van is in op dat te niet met voor zijn aan er werd ook door naar bij wordt uit maar om als of heeft was"
    " wie wat waar welke hoe deze dit die hij zij",
    "pl": "i w na z do się nie jest że to od jak przez oraz był była było są po za dla ale czy tym który która które o co jego",
    "pt": "o a os as de e em que um uma para com não do da dos das no na por se foi mais é são ao como sua seu mas entre quando"
    " quem qual onde era pelo pela também ou",
    "ro": "și în de la cu pe nu este care din pentru un o al ale sunt mai sau prin fost ce au a lui ca acest această fi",
    "sk": "je sú bol bola bolo ktorý ktorá ktoré nie pre ako alebo aj však pri podľa od vo sa na že jeho ich byť sme so",
    "sl": "je in v na se so da za ki ne bil bila kot z po ali pa tudi od iz kaj kje pri sta",
    "sq": "dhe në të një për me nga është që si nuk u ka kjo ky por i e së",
    "st": "le ka ho ea ke ba ha tse se ea hore empa o bile",
    "sv": "och är det den till av inte har var med som på för ett en de att från blev eller också efter kan ska hur vad vilken om i",
    "sw": "na ya wa kwa ni katika za la cha kuwa hii kama au pia yake lakini huo",
    "tl": "ang ng mga sa na ay at ito ni kay hindi para ang siya may",
    "tr": "ve bir bu da de için ile olarak olan çok daha ne gibi kadar sonra ise en var değil mi nedir hangi kaç tarafından",
    "vi": "và của là có trong được cho một các những không với người này đã khi từ đến tại như để về",
}  # fmt: skip

CYRILLIC: Final = {
    "be": "і не на што з у як да ён яна гэта але быў была для па яго",
    "bg": "и на да се от за е в не са по с че като това или но към при който която беше във със той тя",
    "mk": "и на да се од за е во не со што го ја како или но кој која беше",
    "ru": "и в не на что с по как это из у за от он она но для же к был была было были его или так при о их который которые когда кто где какой какая какое какие какую каким сколько чем кем чего чему почему"
    " во со том этого только также до после году может были есть ли",
    "sr": "и је у на се да су за од као који која није био из или са што до али",
    "uk": "і в не на що з у та як до це за від він вона але для був була було по його або про який які коли хто й є",
}  # fmt: skip

ARABIC: Final = {
    "ar": "في من على إلى أن التي الذي هذا هذه ما عن مع كان كانت لا هو هي أو بين بعد",
    "fa": "و در به از که این را با است آن برای یک بود شد خود تا بر هم می",
    "ur": "کے کی میں ہے اور سے کا کو نے پر یہ ہیں کہ اس تھا تھی نہیں",
}  # fmt: skip

DEVANAGARI: Final = {
    "hi": "के का की में है और से को पर ने यह हैं था थी लिए एक कि नहीं भी इस क्या",
    "mr": "आहे आणि या च्या ते व हा ही होते मध्ये आहेत नाही एक होता",
    "ne": "को र मा छ हो लाई यो थियो छन् पनि गरेको एक भएको बाट",
}  # fmt: skip


@cache
def function_words(language: str) -> frozenset[str]:
    """Return the function words of a language (ISO 639-1 code), in lower case; none if unknown."""
    return frozenset(
        word for lists in (LATIN, CYRILLIC, ARABIC, DEVANAGARI) for word in lists.get(language, "").split()
    )
