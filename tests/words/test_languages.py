import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.words.languages import guess

SENTENCES = {
    "ar": "ما هي عاصمة فرنسا؟",
    "bg": "Той беше в София със своята сестра",
    "ca": "Aquesta és la casa dels meus avis",
    "cs": "Který hrad je největší v zemi?",
    "da": "Hvad er prisen på en billet til København?",
    "de": "Wie hoch ist der Preis für die Versicherung?",
    "el": "Ποια είναι η πρωτεύουσα της Ελλάδας;",
    "en": "What is the price of the insurance?",
    "es": "¿Cuál es el precio del seguro?",
    "fa": "پایتخت ایران کجا است",
    "fi": "Mikä on vakuutuksen hinta ja missä se on?",
    "fr": "Quel est le prix de cette assurance pour les familles ?",
    "he": "מה המחיר של הביטוח",
    "hi": "बीमा की कीमत क्या है",
    "hu": "Mennyi az ára ennek és hogy nem drága?",
    "id": "Berapa harga asuransi yang paling murah untuk saya?",
    "it": "Qual è il prezzo della polizza per gli anziani?",
    "ja": "保険の価格はいくらですか",
    "ko": "보험 가격은 얼마입니까",
    "nl": "Wat is de prijs van het product en hoe duur wordt het?",
    "pl": "Jaka jest cena tego ubezpieczenia i czy się opłaca?",
    "pt": "Qual é o preço do seguro e não há mais?",
    "ro": "Care este prețul asigurării și ce include?",
    "ru": "Какая цена страховки?",
    "sv": "Vad är priset på en biljett och hur länge gäller den?",
    "th": "ราคาประกันเท่าไหร่",
    "tr": "Bu sigortanın fiyatı ne kadar ve nasıl alınır?",
    "uk": "Яка ціна страховки і що вона покриває?",
    "zh": "保险的价格是多少",
}


@pytest.mark.parametrize(("language", "sentence"), SENTENCES.items())
def test_a_sentence_tells_its_language(language: str, sentence: str) -> None:
    assert guess(sentence) == language


@pytest.mark.parametrize("text", ["", " ", "42", "XR-4471-B", "?!", "\ud800", "🙂"])
def test_what_tells_nothing_is_undetermined(text: str) -> None:
    assert guess(text) == "und"


@given(st.text(st.characters()))
def test_any_text_has_one_answer(text: str) -> None:
    first = guess(text)
    assert first == guess(text)
    assert first.isalpha()
